-- id: repeat-fault
-- title: The same fault again soon after its repair
-- title-zh: 维修后短期内重复发生的同类故障
-- clause: maintenance rules, art. 11: a repair lasts; a fault that returns is repaired without pay
-- clause-zh: 设备维修规则第十一条：维修应保证质量，质保期内同类故障应免费返修
-- severity: medium
-- subject: order_id
-- each: before_id
SELECT again.order_id AS order_id,
       before.order_id AS before_id,
       again.device AS device,
       again.fault AS fault,
       before.company AS repaired_by,
       before.done_at AS repaired_at,
       (again.opened_at - before.done_at) / 86400000 AS days_after
FROM maintenance.work_order AS again
JOIN maintenance.work_order AS before
  ON before.device = again.device
 AND before.fault = again.fault
 AND before.order_id <> again.order_id
WHERE again.state <> 'cancelled'
  AND before.state IN ('done', 'confirmed', 'settled')
  AND again.opened_at >= before.done_at
  AND again.opened_at - before.done_at <= :days * 86400000
ORDER BY again.order_id, before.order_id
