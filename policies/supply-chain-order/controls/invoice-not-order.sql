-- id: invoice-not-order
-- title: Invoices that fit neither the price of the order nor what was received
-- title-zh: 与订单价格或收货数量不符的发票
-- clause: supply chain rules, art. 11: an invoice fits its order and its receipts
-- clause-zh: 供应链协同规则第十一条：发票应与订单及收货记录相符
-- severity: high
-- subject: invoice_id
-- owner: seller
SELECT invoice.invoice_id AS invoice_id,
       invoice.purchase_order AS order_id,
       invoice.owner AS seller,
       invoice.amount AS amount,
       invoice.quantity * purchase_order.price AS as_ordered,
       invoice.quantity AS quantity,
       purchase_order.received - purchase_order.invoiced AS to_be_invoiced,
       invoice.billed_at AS billed_at
FROM supply_chain_order.invoice AS invoice
JOIN supply_chain_order.purchase_order AS purchase_order
  ON purchase_order.order_id = invoice.purchase_order
WHERE invoice.state IN ('issued', 'disputed')
  AND (invoice.amount <> invoice.quantity * purchase_order.price
       OR invoice.quantity > purchase_order.received - purchase_order.invoiced)
ORDER BY invoice.invoice_id
