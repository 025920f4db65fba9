-- id: unconfirmed
-- title: Work reported done and not confirmed
-- title-zh: 报完工后未经验收确认的工单
-- clause: maintenance rules, art. 7: the customer confirms or rejects in time
-- clause-zh: 设备维修规则第七条：委托人应及时验收或提出异议
-- severity: low
-- subject: order_id
-- owner: customer
SELECT order_id,
       owner AS customer,
       company,
       total,
       done_at,
       (:as_of_time - done_at) / 86400000 AS days_open
FROM maintenance.work_order
WHERE state = 'done'
  AND :as_of_time - done_at > :days * 86400000
ORDER BY order_id
