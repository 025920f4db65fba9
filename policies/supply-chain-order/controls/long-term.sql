-- id: long-term
-- title: Sellers that are made to wait longer than the law allows
-- title-zh: 账期超过法定上限的订单
-- clause: regulations on payments to small and medium-sized enterprises: within 60 days of delivery
-- clause-zh: 《保障中小企业款项支付条例》：自交付之日起60日内支付款项
-- severity: medium
-- subject: order_id
-- owner: buyer
SELECT order_id,
       owner AS buyer,
       seller,
       payment_term / 86400000 AS term_days,
       placed_at
FROM supply_chain_order.purchase_order
WHERE state NOT IN ('closed', 'cancelled')
  AND payment_term > :days * 86400000
ORDER BY order_id
