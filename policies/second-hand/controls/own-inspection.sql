-- id: own-inspection
-- title: Devices inspected by who had repaired them
-- title-zh: 由原承修人检测的设备
-- clause: second-hand trade rules, art. 8: an inspector has no stake in what it finds
-- clause-zh: 二手设备交易规则第八条：检测机构不得与检测结果有利害关系
-- severity: medium
-- subject: trade_id
-- owner: inspector
SELECT trade.trade_id AS trade_id,
       trade.inspector AS inspector,
       trade.device AS device,
       COUNT(*) AS repairs,
       MAX(repair.done_at) AS last_repair_at
FROM second_hand.trade AS trade
JOIN maintenance.work_order AS repair
  ON repair.device = trade.device
 AND repair.company = trade.inspector
 AND repair.done_at IS NOT NULL
WHERE trade.state IN ('inspected', 'approved', 'sold', 'paid-out')
GROUP BY trade.trade_id
ORDER BY trade.trade_id
