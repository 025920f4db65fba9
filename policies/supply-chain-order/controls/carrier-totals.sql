-- id: carrier-totals
-- title: What carriers took in by region and month
-- title-zh: 承运人分地区分月运量
-- clause: supply chain rules, art. 16: carriers' totals by region and month
-- clause-zh: 供应链协同规则第十六条：承运人运量按地区、按月汇总
-- severity: info
-- subject: carrier
-- each: region_month
-- owner: carrier
SELECT shipment.owner AS carrier,
       shipment.jurisdiction || ' ' || substr(iso_date(shipment.shipped_at), 1, 7) AS region_month,
       COUNT(*) AS shipments,
       SUM(shipment.quantity) AS shipped,
       SUM(shipment.received) AS received,
       SUM(shipment.mass) AS mass
FROM supply_chain_order.shipment AS shipment
WHERE shipment.state IN ('in-transit', 'received')
GROUP BY shipment.owner, region_month
HAVING COUNT(*) >= :least
ORDER BY shipment.owner, region_month
