-- id: overdue
-- title: What is overdue, stage by stage
-- title-zh: 各环节逾期事项
-- clause: supply chain rules, art. 9: every stage of an order keeps its date
-- clause-zh: 供应链协同规则第九条：订单各环节应按期完成
-- severity: medium
-- subject: order_id
-- each: document_id
-- owner: owner
SELECT late.order_id AS order_id,
       late.document_id AS document_id,
       late.stage AS stage,
       late.owner AS owner,
       late.due_at AS due_at
FROM (
  SELECT order_id, order_id AS document_id, 'delivery' AS stage, seller AS owner,
         deliver_by AS due_at
  FROM supply_chain_order.purchase_order
  WHERE state = 'confirmed'
  UNION ALL
  SELECT purchase_order, shipment_id, 'transit', owner, moved_at + :transit_days * 86400000
  FROM supply_chain_order.shipment
  WHERE state IN ('dispatched', 'in-transit')
  UNION ALL
  SELECT purchase_order, invoice_id, 'answer', owner_of.owner, billed_at + :answer_days * 86400000
  FROM supply_chain_order.invoice AS invoice
  JOIN supply_chain_order.purchase_order AS owner_of
    ON owner_of.order_id = invoice.purchase_order
  WHERE invoice.state = 'issued'
  UNION ALL
  SELECT purchase_order, invoice_id, 'payment', owner_of.owner, due_at
  FROM supply_chain_order.invoice AS invoice
  JOIN supply_chain_order.purchase_order AS owner_of
    ON owner_of.order_id = invoice.purchase_order
  WHERE invoice.state IN ('accepted', 'assigned')
) AS late
WHERE late.due_at < :as_of_time
ORDER BY late.order_id, late.document_id
