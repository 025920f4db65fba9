-- id: financed-twice
-- title: One tax invoice behind two receivables, at one bank or at two
-- title-zh: 同一税务发票重复确权或重复融资
-- clause: supply chain finance rules, art. 5: an invoice is financed once
-- clause-zh: 供应链金融规则第五条：同一发票不得重复融资
-- severity: critical
-- subject: receivable_id
-- each: other_receivable
-- owner: seller
SELECT one.receivable_id AS receivable_id,
       other.receivable_id AS other_receivable,
       invoice.owner AS seller,
       invoice.number AS number,
       one.amount AS amount,
       loan.bank AS bank,
       other_loan.bank AS other_bank,
       one.issued_at AS issued_at
FROM supply_chain_finance.receivable AS one
JOIN supply_chain_order.invoice AS invoice
  ON invoice.invoice_id = one.invoice
JOIN supply_chain_order.invoice AS other_invoice
  ON other_invoice.number = invoice.number AND other_invoice.invoice_id <> invoice.invoice_id
JOIN supply_chain_finance.receivable AS other
  ON other.invoice = other_invoice.invoice_id AND other.parent IS NULL
LEFT JOIN supply_chain_finance.loan AS loan
  ON loan.loan_id = one.loan
LEFT JOIN supply_chain_finance.loan AS other_loan
  ON other_loan.loan_id = other.loan
WHERE one.parent IS NULL AND one.state <> 'proposed' AND other.state <> 'proposed'
ORDER BY one.receivable_id, other.receivable_id
