-- id: cover-lost
-- title: Loans on goods that the goods in store do not cover
-- title-zh: 在库货值不足以覆盖的贷款
-- clause: supply chain finance rules, art. 11: goods in store cover what is lent on them
-- clause-zh: 供应链金融规则第十一条：在库质押物价值应当覆盖贷款余额
-- severity: high
-- subject: loan_id
-- owner: borrower
SELECT loan_id,
       owner AS borrower,
       bank,
       kind,
       in_store,
       amount + interest - repaid AS owed,
       cover,
       granted_at
FROM supply_chain_finance.loan
WHERE kind IN ('goods', 'prepayment')
  AND state IN ('granted', 'overdue')
  AND in_store * 100 < (amount + interest - repaid) * cover
  AND :as_of_time - granted_at > :days * 86400000
ORDER BY loan_id
