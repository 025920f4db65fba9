-- id: use-outside-purpose
-- title: Uses for another purpose than was granted
-- title-zh: 超出许可用途的数据使用
-- clause: data sharing rules, art. 5: data are used for the purpose they were granted for
-- clause-zh: 数据共享规则第五条：数据应按授权用途使用
-- severity: high
-- subject: usage_id
-- owner: owner
SELECT used.usage_id AS usage_id,
       used.grant AS grant_id,
       used.owner AS owner,
       used.purpose AS purpose,
       given.purpose AS granted_purpose,
       used.state AS report_state,
       used.used_at AS used_at
FROM data_sharing.usage AS used
JOIN data_sharing.grant AS given
  ON given.grant_id = used.grant
WHERE used.purpose <> given.purpose AND used.state <> 'dismissed'
ORDER BY used.usage_id
