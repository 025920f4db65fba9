-- id: settled-twice
-- title: Orders settled with the same payment
-- title-zh: 以同一笔付款重复结算的工单
-- clause: maintenance rules, art. 13: a payment settles one order
-- clause-zh: 设备维修规则第十三条：一笔付款只能结算一张工单
-- severity: high
-- subject: order_id
-- each: other_id
-- owner: company
SELECT one.order_id AS order_id,
       other.order_id AS other_id,
       one.company AS company,
       one.owner AS customer,
       one.payment_ref AS payment_ref,
       one.total AS total
FROM maintenance.work_order AS one
JOIN maintenance.work_order AS other
  ON other.payment_ref = one.payment_ref AND other.order_id <> one.order_id
WHERE one.state = 'settled' AND other.state = 'settled'
ORDER BY one.order_id, other.order_id
