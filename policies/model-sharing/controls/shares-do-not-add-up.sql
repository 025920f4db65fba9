-- id: shares-do-not-add-up
-- title: Models whose shares do not add up to the whole
-- title-zh: 份额合计不足或超出的模型
-- clause: model sharing rules, art. 3: the shares in a model are the whole, and confirmed by who holds them
-- clause-zh: 模型共享规则第三条：模型份额合计应为百分之百，并经各方确认
-- severity: medium
-- subject: model_id
-- owner: owner
SELECT model.model_id AS model_id,
       model.owner AS owner,
       model.state AS model_state,
       model.registered_at AS entered_at,
       COALESCE(SUM(contribution.share), 0) AS confirmed
FROM model_sharing.model AS model
LEFT JOIN model_sharing.contribution AS contribution
  ON contribution.model = model.model_id AND contribution.state = 'confirmed'
WHERE model.state <> 'draft' OR :as_of_time - model.registered_at > :days * 86400000
GROUP BY model.model_id
HAVING COALESCE(SUM(contribution.share), 0) <> 10000
ORDER BY model.model_id
