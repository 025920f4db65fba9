-- id: over-delivery
-- title: More sent than was ordered
-- title-zh: 超量发运
-- clause: joint production rules, art. 8: a plant delivers its share and no more
-- clause-zh: 协同生产规则第八条：工厂应按份额交付，不得超量
-- severity: medium
-- subject: share_id
-- owner: owner
SELECT share_id, owner, quantity, sent, returned, sent - returned - quantity AS over_by
FROM distributed_production.share
WHERE sent - returned - quantity > :tolerance
ORDER BY share_id
