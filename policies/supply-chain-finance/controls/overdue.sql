-- id: overdue
-- title: Receivables and loans that are overdue
-- title-zh: 逾期的债权凭证和贷款
-- clause: supply chain finance rules, art. 12: debts are paid when they fall due
-- clause-zh: 供应链金融规则第十二条：债务应当按期清偿
-- severity: high
-- subject: debt_id
-- each: kind
-- owner: owed_by
SELECT late.debt_id AS debt_id,
       late.kind AS kind,
       late.owed_by AS owed_by,
       late.owed_to AS owed_to,
       late.owed AS owed,
       late.due_at AS due_at
FROM (
  SELECT receivable_id AS debt_id, 'claim' AS kind, debtor AS owed_by, owner AS owed_to,
         amount - passed AS owed, due_at AS due_at
  FROM supply_chain_finance.receivable
  WHERE state = 'held' AND amount > passed
  UNION ALL
  SELECT loan_id, kind, owner, bank, amount + interest - repaid, due_at
  FROM supply_chain_finance.loan
  WHERE state IN ('granted', 'overdue')
) AS late
WHERE :as_of_time - late.due_at > :days * 86400000
ORDER BY late.debt_id, late.kind
