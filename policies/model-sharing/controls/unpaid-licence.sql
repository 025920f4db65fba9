-- id: unpaid-licence
-- title: Fees for uses unpaid
-- title-zh: 未付的模型使用费
-- clause: model sharing rules, art. 8: uses are paid within the time limit
-- clause-zh: 模型共享规则第八条：使用费应在期限内支付
-- severity: medium
-- subject: licence_id
-- owner: owner
SELECT licence.licence_id AS licence_id,
       licence.model AS model,
       licence.owner AS owner,
       licence.billed AS billed,
       licence.declared AS declared,
       licence.billed - licence.declared AS unpaid,
       licence.owed_since AS owed_since
FROM model_sharing.licence AS licence
WHERE licence.billed > licence.declared
  AND :as_of_time - licence.owed_since > :days * 86400000
ORDER BY licence.licence_id
