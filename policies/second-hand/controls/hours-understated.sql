-- id: hours-understated
-- title: Trades with fewer hours than the device has reported
-- title-zh: 申报或检测工时低于设备自报工时的交易
-- clause: second-hand trade rules, art. 7: the seller declares the true hours, and the inspector finds them
-- clause-zh: 二手设备交易规则第七条：出卖人应如实申报工时，检测机构应据实检测
-- severity: high
-- subject: trade_id
-- owner: seller
SELECT trade.trade_id AS trade_id,
       trade.owner AS seller,
       trade.inspector AS inspector,
       trade.device AS device,
       trade.hours AS hours_declared,
       trade.hours_found AS hours_found,
       MAX(reading.value) AS hours_reported
FROM second_hand.trade AS trade
JOIN operation_supervision.reading AS reading
  ON reading.device = trade.device
 AND reading.metric = 'hours'
 AND reading.recorded_time <= trade.offered_at
GROUP BY trade.trade_id
HAVING MIN(trade.hours, COALESCE(trade.hours_found, trade.hours)) + :tolerance < MAX(reading.value)
ORDER BY trade.trade_id
