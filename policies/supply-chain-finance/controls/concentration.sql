-- id: concentration
-- title: Banks that depend on one debtor
-- title-zh: 贷款集中于单一付款人的银行
-- clause: supply chain finance rules, art. 13: no bank depends on one debtor
-- clause-zh: 供应链金融规则第十三条：单一付款人的融资集中度应当受限
-- severity: medium
-- subject: debtor
-- each: bank
-- owner: bank
SELECT COALESCE(receivable.debtor, purchase_order.owner, loan.owner) AS debtor,
       loan.bank AS bank,
       SUM(loan.amount + loan.interest - loan.repaid) AS owed,
       (SELECT SUM(one.amount + one.interest - one.repaid)
        FROM supply_chain_finance.loan AS one
        WHERE one.bank = loan.bank AND one.state IN ('granted', 'overdue')) AS owed_in_all,
       SUM(loan.amount + loan.interest - loan.repaid) * 100
         / (SELECT SUM(one.amount + one.interest - one.repaid)
            FROM supply_chain_finance.loan AS one
            WHERE one.bank = loan.bank AND one.state IN ('granted', 'overdue')) AS percent,
       COUNT(*) AS loans
FROM supply_chain_finance.loan AS loan
LEFT JOIN supply_chain_finance.receivable AS receivable
  ON receivable.receivable_id = loan.receivable
LEFT JOIN supply_chain_finance.account AS account
  ON account.account_id = loan.account
LEFT JOIN supply_chain_order.purchase_order AS purchase_order
  ON purchase_order.order_id = account.purchase_order
WHERE loan.state IN ('granted', 'overdue')
GROUP BY loan.bank, COALESCE(receivable.debtor, purchase_order.owner, loan.owner)
-- The one who is to pay in the end: the debtor, the buyer, or who borrows on goods.
HAVING SUM(loan.amount + loan.interest - loan.repaid) * 100 >
  :percent * (SELECT SUM(one.amount + one.interest - one.repaid)
              FROM supply_chain_finance.loan AS one
              WHERE one.bank = loan.bank AND one.state IN ('granted', 'overdue'))
ORDER BY COALESCE(receivable.debtor, purchase_order.owner, loan.owner), loan.bank
