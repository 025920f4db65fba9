-- id: ended-data-grant
-- title: Models in use that were built on data whose grant has ended
-- title-zh: 数据授权已终止的在用模型
-- clause: model sharing rules, art. 4: a model is licensed while the data it was built on are granted
-- clause-zh: 模型共享规则第四条：模型对外许可期间，其训练数据的授权应当有效
-- severity: high
-- subject: contribution_id
-- owner: owner
SELECT contribution.contribution_id AS contribution_id,
       contribution.model AS model,
       model.owner AS owner,
       contribution.owner AS contributor,
       contribution.data_grant AS data_grant,
       given.ended_why AS ended_why,
       given.until AS granted_until
FROM model_sharing.contribution AS contribution
JOIN model_sharing.model AS model
  ON model.model_id = contribution.model
JOIN data_sharing.grant AS given
  ON given.grant_id = contribution.data_grant
WHERE model.state = 'registered'
  AND contribution.state = 'confirmed'
  AND (given.state <> 'active' OR :as_of_time > given.until)
ORDER BY contribution.contribution_id
