-- id: claim-without-debt
-- title: Receivables in circulation without an order, a delivery or a debt behind them
-- title-zh: 缺乏真实订单、交货或债务支持的流通债权凭证
-- clause: supply chain finance rules, art. 4: a receivable is of a real and existing debt
-- clause-zh: 供应链金融规则第四条：应收账款应当真实、有效存在
-- severity: critical
-- subject: receivable_id
-- owner: holder
SELECT receivable.receivable_id AS receivable_id,
       receivable.owner AS holder,
       receivable.debtor AS debtor,
       invoice.state AS invoice_state,
       receivable.amount AS amount,
       receivable.amount - receivable.redeemed AS open_amount,
       receivable.issued_at AS issued_at
FROM supply_chain_finance.receivable AS receivable
JOIN supply_chain_order.invoice AS invoice
  ON invoice.invoice_id = receivable.invoice
JOIN supply_chain_order.purchase_order AS purchase_order
  ON purchase_order.order_id = invoice.purchase_order
WHERE receivable.parent IS NULL
  AND receivable.state <> 'proposed'
  AND receivable.redeemed < receivable.amount
  AND (invoice.state <> 'assigned' OR purchase_order.received < invoice.quantity)
ORDER BY receivable.receivable_id
