-- id: repair-twice
-- title: One repair shown for two claims
-- title-zh: 同一维修工单用于多个理赔案
-- clause: second-hand trade rules, art. 10: a repair proves what it repaired, once
-- clause-zh: 二手设备交易规则第十条：一张维修工单只能证明一个理赔案的修复
-- severity: high
-- subject: claim_id
-- each: other_id
-- owner: insured
SELECT one.claim_id AS claim_id,
       other.claim_id AS other_id,
       one.owner AS insured,
       one.device AS device,
       one.repair AS repair
FROM second_hand.damage AS one
JOIN second_hand.damage AS other
  ON other.repair = one.repair AND other.claim_id <> one.claim_id
ORDER BY one.claim_id, other.claim_id
