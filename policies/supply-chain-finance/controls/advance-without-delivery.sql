-- id: advance-without-delivery
-- title: Money advanced on orders that are not delivered, or are over
-- title-zh: 已放款而长期未发货或已终结的订单
-- clause: supply chain finance rules, art. 9: what is advanced on an order serves its delivery
-- clause-zh: 供应链金融规则第九条：订单融资款项应当用于该订单的履行
-- severity: high
-- subject: loan_id
-- owner: seller
SELECT loan.loan_id AS loan_id,
       account.purchase_order AS order_id,
       purchase_order.seller AS seller,
       loan.bank AS bank,
       purchase_order.state AS order_state,
       loan.amount + loan.interest - loan.repaid AS owed,
       loan.granted_at AS granted_at
FROM supply_chain_finance.loan AS loan
JOIN supply_chain_finance.account AS account
  ON account.account_id = loan.account
JOIN supply_chain_order.purchase_order AS purchase_order
  ON purchase_order.order_id = account.purchase_order
WHERE loan.state IN ('granted', 'overdue')
-- Nothing is on its way; or the order was cut to nothing, or paid without repaying.
  AND ((purchase_order.shipped = 0 AND :as_of_time - loan.granted_at > :days * 86400000)
       OR purchase_order.quantity = 0
       OR (loan.kind = 'order' AND purchase_order.state = 'closed'))
ORDER BY loan.loan_id
