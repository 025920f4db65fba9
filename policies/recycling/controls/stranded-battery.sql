-- id: stranded-battery
-- title: Batteries that stay where they should not
-- title-zh: 滞留的电池
-- clause: battery recycling rules, art. 10: a collected battery goes on to its next use in time
-- clause-zh: 动力电池回收利用规则第十条：已回收的电池应及时转入下一环节
-- severity: medium
-- subject: battery_id
-- owner: owner
SELECT battery_id,
       owner,
       state AS battery_state,
       changed_at,
       (:as_of_time - changed_at) / 86400000 AS waiting_days
FROM recycling.battery
WHERE state IN ('collected', 'tested', 'at-recycler', 'recycled')
  AND :as_of_time - changed_at > :days * 86400000
ORDER BY battery_id
