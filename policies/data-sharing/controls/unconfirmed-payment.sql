-- id: unconfirmed-payment
-- title: Payments that the provider does not confirm
-- title-zh: 提供方未确认的付款
-- clause: data sharing rules, art. 8: what was received is confirmed
-- clause-zh: 数据共享规则第八条：收款后应及时确认
-- severity: low
-- subject: grant_id
-- owner: provider
SELECT given.grant_id AS grant_id,
       shared.owner AS provider,
       given.owner AS data_user,
       given.declared - given.paid AS unconfirmed,
       given.declared_at AS declared_at
FROM data_sharing.grant AS given
JOIN data_sharing.dataset AS shared
  ON shared.dataset_id = given.dataset
WHERE given.declared > given.paid
  AND :as_of_time - given.declared_at > :days * 86400000
ORDER BY given.grant_id
