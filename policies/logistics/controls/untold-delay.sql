-- id: untold-delay
-- title: Legs that are late without having said so
-- title-zh: 已延误而未报告的区段
-- clause: carriage rules, art. 11: who is late tells those downstream before
-- clause-zh: 货物运输规则第十一条：发生延误的，应事先告知下游各方
-- severity: medium
-- subject: leg_id
-- owner: owner
SELECT leg_id,
       consignment,
       owner,
       planned_end,
       own_delay + upstream_delay AS told_delay,
       :as_of_time - planned_end AS late_by
FROM logistics.leg
WHERE state = 'under-way'
  AND :as_of_time - planned_end > own_delay + upstream_delay + :tolerance
ORDER BY leg_id
