-- id: received-not-shipped
-- title: Shipments of which less arrived than was shipped
-- title-zh: 收货少于发货的批次
-- clause: supply chain rules, art. 8: what is received is what was shipped, and what is missing is explained
-- clause-zh: 供应链协同规则第八条：收货数量应与发货数量一致，短少应当说明
-- severity: high
-- subject: shipment_id
-- owner: carrier
SELECT shipment.shipment_id AS shipment_id,
       shipment.purchase_order AS order_id,
       shipment.owner AS carrier,
       shipment.quantity AS shipped,
       shipment.received AS received,
       shipment.quantity - shipment.received AS short,
       shipment.moved_at AS received_at
FROM supply_chain_order.shipment AS shipment
WHERE shipment.state = 'received'
  AND shipment.quantity - shipment.received > :tolerance
ORDER BY shipment.shipment_id
