-- id: unconfirmed-payment
-- title: Payments declared and neither confirmed nor cleared up
-- title-zh: 已申报但未获确认或存在争议的付款
-- clause: leasing supervision rules, art. 13: receipt of a payment is confirmed or contested in time, and disputes are settled
-- clause-zh: 租赁监管规则第十三条：收款应及时确认或提出异议，争议应予解决
-- severity: low
-- subject: payment_id
-- owner: payee
SELECT payment_id, payee, owner AS payer, lease, amount, state AS payment_state, paid_at
FROM leasing.payment
WHERE state IN ('declared', 'contested')
  AND :as_of_time - paid_at > :days * 86400000
ORDER BY payment_id
