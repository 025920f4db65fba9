-- id: use-by-platform
-- title: Uses of a model by the platform that stores it
-- title-zh: 存储平台自行使用模型
-- clause: model sharing rules, art. 7: storing a model gives no right to it
-- clause-zh: 模型共享规则第七条：存储模型不产生任何使用权
-- severity: critical
-- subject: sighting_id
-- owner: owner
SELECT sighting.sighting_id AS sighting_id,
       sighting.model AS model,
       sighting.owner AS owner,
       sighting.state AS report_state,
       sighting.seen_by AS seen_by,
       sighting.seen_at AS seen_at
FROM model_sharing.sighting AS sighting
WHERE sighting.by_platform = 1 AND sighting.state <> 'closed'
ORDER BY sighting.sighting_id
