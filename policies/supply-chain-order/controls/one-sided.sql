-- id: one-sided
-- title: Orders and amendments that one side alone has signed
-- title-zh: 仅一方签署的订单和变更
-- clause: supply chain rules, art. 4: what one side records is answered by the other in time
-- clause-zh: 供应链协同规则第四条：一方登记的事项，另一方应及时确认或拒绝
-- severity: medium
-- subject: order_id
-- each: document_id
-- owner: owner
SELECT open.order_id AS order_id,
       open.document_id AS document_id,
       open.owner AS owner,
       open.signed_at AS signed_at
FROM (
  SELECT order_id, order_id AS document_id, owner, placed_at AS signed_at
  FROM supply_chain_order.purchase_order
  WHERE state = 'placed'
  UNION ALL
  SELECT purchase_order, amendment_id, owner, asked_at
  FROM supply_chain_order.amendment
  WHERE state = 'asked'
) AS open
WHERE :as_of_time - open.signed_at > :hours * 3600000
ORDER BY open.order_id, open.document_id
