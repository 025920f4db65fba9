-- id: use-outside-term
-- title: Uses before a grant was opened or after it was over
-- title-zh: 授权期限之外的数据使用
-- clause: data sharing rules, art. 5: data are used within the term they were granted for
-- clause-zh: 数据共享规则第五条：数据应在授权期限内使用
-- severity: high
-- subject: usage_id
-- owner: owner
SELECT used.usage_id AS usage_id,
       used.grant AS grant_id,
       used.owner AS owner,
       used.state AS report_state,
       used.used_at AS used_at,
       given.opened_at AS opened_at,
       given.until AS until
FROM data_sharing.usage AS used
JOIN data_sharing.grant AS given
  ON given.grant_id = used.grant
WHERE used.state <> 'dismissed'
  AND (used.used_at < given.opened_at - :tolerance OR used.used_at > given.until + :tolerance)
ORDER BY used.usage_id
