-- id: weakest-link
-- title: The order of a chain that has waited longest
-- title-zh: 订单链中等待最久的订单
-- clause: supply chain rules, art. 15: whoever leads a chain knows where it waits
-- clause-zh: 供应链协同规则第十五条：链主企业应掌握订单链的薄弱环节
-- severity: low
-- subject: chain
-- owner: seller
SELECT waiting.chain AS chain,
       waiting.order_id AS order_id,
       waiting.seller AS seller,
       (SELECT COUNT(*)
        FROM supply_chain_order.purchase_order AS open
        WHERE open.chain = waiting.chain AND open.state IN ('placed', 'confirmed')) AS orders,
       waiting.moved_at AS moved_at,
       (:as_of_time - waiting.moved_at) / 86400000 AS waited_days
FROM supply_chain_order.purchase_order AS waiting
WHERE waiting.state IN ('placed', 'confirmed')
  AND :as_of_time - waiting.moved_at > :days * 86400000
-- No other open order of the chain has waited longer.
  AND NOT EXISTS (
    SELECT 1
    FROM supply_chain_order.purchase_order AS longer
    WHERE longer.chain = waiting.chain
      AND longer.state IN ('placed', 'confirmed')
      AND (longer.moved_at < waiting.moved_at
           OR (longer.moved_at = waiting.moved_at AND longer.order_id < waiting.order_id)))
ORDER BY waiting.chain
