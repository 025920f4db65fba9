-- id: overrun-grant
-- title: Grants that run on though they should have ended
-- title-zh: 应终止而未终止的授权
-- clause: data sharing rules, art. 7: a grant ends with its term, and with the grant it was passed on under
-- clause-zh: 数据共享规则第七条：授权期满即止，转授随原授权终止
-- severity: medium
-- subject: grant_id
-- owner: owner
SELECT given.grant_id AS grant_id,
       given.dataset AS dataset,
       given.owner AS owner,
       given.parent AS parent,
       given.opened_at AS opened_at,
       given.until AS until
FROM data_sharing.grant AS given
LEFT JOIN data_sharing.grant AS source
  ON source.grant_id = given.parent
WHERE given.state = 'active'
  AND (:as_of_time - given.until > :grace OR source.state <> 'active')
ORDER BY given.grant_id
