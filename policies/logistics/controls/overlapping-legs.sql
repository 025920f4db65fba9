-- id: overlapping-legs
-- title: Legs of one consignment that overlap
-- title-zh: 同一托运货物时间重叠的区段
-- clause: carriage rules, art. 9: goods are on one leg at a time, in the plan and by what the carriers declare
-- clause-zh: 货物运输规则第九条：同一货物同一时间只能处于一个区段，计划时间与承运人申报的实际时间均不得重叠
-- severity: medium
-- subject: leg_id
-- owner: owner
-- What was declared counts; where nothing is declared yet, what was planned.
SELECT after.leg_id AS leg_id,
       before.leg_id AS other_leg,
       after.consignment AS consignment,
       after.owner AS owner,
       before.owner AS other_owner,
       COALESCE(after.departed_at, after.planned_start) AS began_at,
       COALESCE(before.arrived_at, before.planned_end) AS other_ended_at,
       (COALESCE(before.arrived_at, before.planned_end)
        - COALESCE(after.departed_at, after.planned_start)) / 60000 AS overlap_minutes
FROM logistics.leg AS after
JOIN logistics.leg AS before
  ON before.next = after.leg_id
WHERE (after.departed_at IS NULL) = (before.departed_at IS NULL)
  AND COALESCE(before.arrived_at, before.planned_end)
      - COALESCE(after.departed_at, after.planned_start) > :minutes * 60000
ORDER BY after.leg_id
