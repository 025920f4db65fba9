-- id: money-kept
-- title: Money that the platform has kept too long
-- title-zh: 平台逾期未划付或未退还的款项
-- clause: second-hand trade rules, art. 12: who holds money for others pays it on in time
-- clause-zh: 二手设备交易规则第十二条：托管款项应及时划付或退还
-- severity: high
-- subject: trade_id
-- owner: platform
SELECT trade_id,
       platform,
       CASE WHEN state = 'sold' THEN owner ELSE buyer END AS creditor,
       CASE WHEN state = 'sold' THEN to_seller ELSE escrow END AS kept,
       changed_at AS since
FROM second_hand.trade
WHERE ((state = 'sold' AND to_seller > 0) OR (state = 'failed' AND escrow > 0))
  AND :as_of_time - changed_at > :days * 86400000
ORDER BY trade_id
