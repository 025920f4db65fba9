-- id: passed-on
-- title: Data passed on beside the ledger
-- title-zh: 未经授权的数据转交
-- clause: data sharing rules, art. 6: data are passed on where the terms allow it, under a grant of its own
-- clause-zh: 数据共享规则第六条：仅在条款允许且另行取得授权时方可转授数据
-- severity: critical
-- subject: usage_id
-- owner: owner
SELECT used.usage_id AS usage_id,
       used.grant AS grant_id,
       used.owner AS owner,
       used.passed_to AS passed_to,
       shared.may_pass_on AS may_pass_on,
       used.state AS report_state,
       used.used_at AS used_at
FROM data_sharing.usage AS used
JOIN data_sharing.grant AS given
  ON given.grant_id = used.grant
JOIN data_sharing.dataset AS shared
  ON shared.dataset_id = given.dataset
WHERE used.passed_to IS NOT NULL AND used.state <> 'dismissed'
ORDER BY used.usage_id
