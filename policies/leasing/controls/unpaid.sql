-- id: unpaid
-- title: Rent unpaid after the time to pay
-- title-zh: 超过付款期限仍未支付的租金
-- clause: leasing supervision rules, art. 12: rent that was billed is paid in time
-- clause-zh: 租赁监管规则第十二条：已出账租金应按期支付
-- severity: high
-- subject: lease_id
-- owner: lessee
SELECT lease_id,
       lessee,
       payee,
       invoiced - paid AS owed,
       pay_by
FROM leasing.lease
WHERE state IN ('active', 'overdue', 'defaulted', 'returning', 'ended')
  AND invoiced - paid > :threshold
  AND :as_of_time > pay_by + :days * 86400000
ORDER BY lease_id
