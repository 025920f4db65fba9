-- id: damage-without-repair
-- title: Claims that were paid and not followed by a repair
-- title-zh: 已赔付但未修复的理赔案
-- clause: second-hand trade rules, art. 9: what an insurer paid for is repaired, or stays known
-- clause-zh: 二手设备交易规则第九条：已赔付的损害应予修复，未修复的应予披露
-- severity: medium
-- subject: claim_id
-- owner: owner
SELECT damage.claim_id AS claim_id,
       device.owner AS owner,
       damage.owner AS insured,
       damage.insurer AS insurer,
       damage.device AS device,
       damage.kind AS kind,
       damage.amount AS amount,
       damage.changed_at AS paid_at
FROM second_hand.damage AS damage
JOIN device_registry.device AS device ON device.device_id = damage.device
WHERE damage.state = 'compensated'
  AND :as_of_time - damage.changed_at > :days * 86400000
ORDER BY damage.claim_id
