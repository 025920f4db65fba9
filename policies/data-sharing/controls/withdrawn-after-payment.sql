-- id: withdrawn-after-payment
-- title: Grants that the provider withdrew before their term though they were paid for
-- title-zh: 收费后提前撤回的授权
-- clause: data sharing rules, art. 7: who withdraws a grant that was paid for settles with the user
-- clause-zh: 数据共享规则第七条：撤回已付费授权的，应与使用方结算
-- severity: medium
-- subject: grant_id
-- owner: provider
SELECT given.grant_id AS grant_id,
       shared.owner AS provider,
       given.owner AS data_user,
       given.declared AS declared,
       given.reason AS reason,
       given.opened_at AS opened_at,
       given.until AS until
FROM data_sharing.grant AS given
JOIN data_sharing.dataset AS shared
  ON shared.dataset_id = given.dataset
WHERE given.ended_why = 'withdrawal' AND given.declared > 0
ORDER BY given.grant_id
