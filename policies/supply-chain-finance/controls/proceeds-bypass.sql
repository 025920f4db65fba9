-- id: proceeds-bypass
-- title: Advances whose borrower was paid past the bank
-- title-zh: 回款绕开贷款银行的订单融资
-- clause: supply chain finance rules, art. 10: the proceeds of a financed order repay the advance first
-- clause-zh: 供应链金融规则第十条：所融资订单的回款应当优先偿还贷款
-- severity: high
-- subject: loan_id
-- each: invoice_id
-- owner: borrower
SELECT loan.loan_id AS loan_id,
       invoice.invoice_id AS invoice_id,
       loan.owner AS borrower,
       loan.bank AS bank,
       invoice.acknowledged AS received,
       loan.amount + loan.interest - loan.repaid AS owed,
       loan.granted_at AS granted_at
FROM supply_chain_finance.loan AS loan
JOIN supply_chain_finance.account AS account
  ON account.account_id = loan.account
JOIN supply_chain_order.invoice AS invoice
  ON invoice.purchase_order = account.purchase_order
WHERE loan.kind = 'order'
  AND loan.state IN ('granted', 'overdue')
  AND invoice.billed_at > loan.granted_at
  AND invoice.acknowledged > 0
ORDER BY loan.loan_id, invoice.invoice_id
