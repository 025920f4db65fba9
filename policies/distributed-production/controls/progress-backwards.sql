-- id: progress-backwards
-- title: Progress that went backwards
-- title-zh: 倒退的生产进度
-- clause: joint production rules, art. 7: reported progress is true, and losses are explained
-- clause-zh: 协同生产规则第七条：报告的进度应当真实，损失应予说明
-- severity: medium
-- subject: share_id
-- owner: owner
SELECT share_id, owner, quantity, made, made_most, made_most - made AS lost, setbacks, reported_at
FROM distributed_production.share
WHERE setbacks > :most
ORDER BY share_id
