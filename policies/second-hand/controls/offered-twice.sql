-- id: offered-twice
-- title: Devices promised to two buyers, or by who no longer owns them
-- title-zh: 一物多卖或已非出卖人所有的设备
-- clause: second-hand trade rules, art. 5: a device is sold once, by its owner
-- clause-zh: 二手设备交易规则第五条：设备由其所有者出售，且不得一物多卖
-- severity: high
-- subject: trade_id
-- owner: seller
SELECT trade.trade_id AS trade_id,
       trade.owner AS seller,
       trade.device AS device,
       device.owner AS owner_now,
       (SELECT COUNT(*) FROM second_hand.trade AS other
        WHERE other.device = trade.device
          AND other.trade_id <> trade.trade_id
          AND other.state IN ('agreed', 'escrowed', 'inspected', 'approved')) AS others
FROM second_hand.trade AS trade
JOIN device_registry.device AS device ON device.device_id = trade.device
WHERE trade.state IN ('agreed', 'escrowed', 'inspected', 'approved')
  AND (device.owner <> trade.owner
       OR EXISTS (SELECT 1 FROM second_hand.trade AS other
                  WHERE other.device = trade.device
                    AND other.trade_id <> trade.trade_id
                    AND other.state IN ('agreed', 'escrowed', 'inspected', 'approved')))
ORDER BY trade.trade_id
