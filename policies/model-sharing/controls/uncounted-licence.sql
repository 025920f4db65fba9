-- id: uncounted-licence
-- title: Licences under which nothing is counted
-- title-zh: 长期无用量的许可
-- clause: model sharing rules, art. 6: each use is counted
-- clause-zh: 模型共享规则第六条：每次使用均应计量
-- severity: info
-- subject: licence_id
-- owner: owner
SELECT licence.licence_id AS licence_id,
       licence.model AS model,
       licence.owner AS owner,
       licence.mode AS mode,
       licence.uses AS uses,
       COALESCE(licence.billed_at, licence.asked_at) AS silent_since
FROM model_sharing.licence AS licence
WHERE licence.state = 'active'
  AND :as_of_time - COALESCE(licence.billed_at, licence.asked_at) > :days * 86400000
ORDER BY licence.licence_id
