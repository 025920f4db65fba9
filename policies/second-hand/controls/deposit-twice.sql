-- id: deposit-twice
-- title: One deposit said to be for two trades
-- title-zh: 同一笔缴存用于多笔交易
-- clause: second-hand trade rules, art. 11: a deposit secures one trade
-- clause-zh: 二手设备交易规则第十一条：一笔缴存只能担保一笔交易
-- severity: high
-- subject: trade_id
-- each: other_id
-- owner: platform
SELECT one.trade_id AS trade_id,
       other.trade_id AS other_id,
       one.platform AS platform,
       one.deposit_ref AS deposit_ref,
       one.paid_in AS paid_in
FROM second_hand.trade AS one
JOIN second_hand.trade AS other
  ON other.deposit_ref = one.deposit_ref
 AND other.platform = one.platform
 AND other.trade_id <> one.trade_id
ORDER BY one.trade_id, other.trade_id
