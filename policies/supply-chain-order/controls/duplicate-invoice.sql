-- id: duplicate-invoice
-- title: Tax invoices that were recorded twice
-- title-zh: 重复登记的税务发票
-- clause: supply chain rules, art. 12: a tax invoice is recorded once
-- clause-zh: 供应链协同规则第十二条：一张税务发票只能登记一次
-- severity: critical
-- subject: invoice_id
-- each: other_invoice
-- owner: seller
SELECT one.invoice_id AS invoice_id,
       other.invoice_id AS other_invoice,
       one.owner AS seller,
       one.number AS number,
       one.amount AS amount,
       one.billed_at AS billed_at
FROM supply_chain_order.invoice AS one
JOIN supply_chain_order.invoice AS other
  ON other.number = one.number AND other.invoice_id <> one.invoice_id
WHERE one.state <> 'void' AND other.state <> 'void'
ORDER BY one.invoice_id, other.invoice_id
