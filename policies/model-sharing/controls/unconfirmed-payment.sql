-- id: unconfirmed-payment
-- title: Payments that the steward does not confirm
-- title-zh: 管理方未确认的付款
-- clause: model sharing rules, art. 8: what was received is confirmed, for all who share in it
-- clause-zh: 模型共享规则第八条：收款应及时确认，以保障各份额持有方
-- severity: medium
-- subject: licence_id
-- owner: steward
SELECT licence.licence_id AS licence_id,
       model.owner AS steward,
       licence.owner AS licensee,
       licence.declared - licence.paid AS unconfirmed,
       licence.declared_at AS declared_at
FROM model_sharing.licence AS licence
JOIN model_sharing.model AS model
  ON model.model_id = licence.model
WHERE licence.declared > licence.paid
  AND :as_of_time - licence.declared_at > :days * 86400000
ORDER BY licence.licence_id
