-- id: vanished-battery
-- title: Batteries that left and did not arrive
-- title-zh: 已交出而未到达的电池
-- clause: battery recycling rules, art. 9: a battery is at every moment with somebody who signed for it
-- clause-zh: 动力电池回收利用规则第九条：电池在任何时刻均应有签收的持有人
-- severity: critical
-- subject: battery
-- owner: owner
SELECT battery,
       hand_over_id,
       owner,
       receiver,
       given_at,
       (:as_of_time - given_at) / 86400000 AS waiting_days
FROM recycling.hand_over
WHERE state = 'offered' AND :as_of_time - given_at > :days * 86400000
ORDER BY battery
