-- id: unlicensed-use
-- title: Uses of a model without licence
-- title-zh: 无许可使用模型
-- clause: model sharing rules, art. 6: a model is used under a licence
-- clause-zh: 模型共享规则第六条：使用模型须持有许可
-- severity: high
-- subject: sighting_id
-- owner: owner
SELECT sighting.sighting_id AS sighting_id,
       sighting.model AS model,
       sighting.owner AS owner,
       sighting.licence AS licence,
       sighting.state AS report_state,
       sighting.seen_by AS seen_by,
       sighting.seen_at AS seen_at
FROM model_sharing.sighting AS sighting
WHERE sighting.licensed = 0 AND sighting.by_platform = 0 AND sighting.state <> 'closed'
ORDER BY sighting.sighting_id
