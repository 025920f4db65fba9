-- id: unacknowledged
-- title: Payments that only one side has confirmed
-- title-zh: 仅一方确认的收付款项
-- clause: supply chain finance rules, art. 14: whoever is paid says so in time
-- clause-zh: 供应链金融规则第十四条：收款人应当及时确认到账
-- severity: medium
-- subject: document_id
-- each: payment
-- owner: waits_for
SELECT open.document_id AS document_id,
       open.payment AS payment,
       open.waits_for AS waits_for,
       open.amount AS amount,
       open.said_at AS said_at
FROM (
  SELECT receivable_id AS document_id, 'redemption' AS payment, owner AS waits_for,
         amount - passed AS amount, remitted_at AS said_at
  FROM supply_chain_finance.receivable
  WHERE state = 'held' AND remitted_at IS NOT NULL
  UNION ALL
  SELECT loan_id, 'repayment', bank, amount + interest - repaid, remitted_at
  FROM supply_chain_finance.loan
  WHERE state IN ('granted', 'overdue')
    AND remitted_at > COALESCE(acknowledged_at, 0)
  UNION ALL
  SELECT loan.loan_id, 'payout',
         CASE loan.kind WHEN 'prepayment' THEN purchase_order.seller ELSE loan.owner END,
         loan.amount, loan.granted_at
  FROM supply_chain_finance.loan AS loan
  LEFT JOIN supply_chain_finance.account AS account
    ON account.account_id = loan.account
  LEFT JOIN supply_chain_order.purchase_order AS purchase_order
    ON purchase_order.order_id = account.purchase_order
  WHERE loan.state IN ('granted', 'overdue') AND loan.paid_out_at IS NULL
) AS open
WHERE :as_of_time - open.said_at > :days * 86400000
ORDER BY open.document_id, open.payment
