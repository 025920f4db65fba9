-- id: more-than-asked
-- title: Rights beyond what the visitor asked for
-- title-zh: 超出申请范围的访问权
-- clause: access rules, art. 10: rights are no wider and no longer than needed
-- clause-zh: 访问控制规则第十条：访问权的范围和期限应以必要为限
-- severity: low
-- subject: right_id
-- owner: owner
SELECT access_right.right_id AS right_id,
       access_right.device AS device,
       access_right.owner AS owner,
       access_right.visitor AS visitor,
       access_right.wanted AS wanted,
       access_right.operations AS operations,
       access_right.changed_at AS granted_at
FROM access_control.access_right AS access_right
WHERE access_right.state = 'granted'
  AND EXISTS (
      SELECT 1
      FROM json_each(access_right.operations) AS given
      WHERE given.value NOT IN (SELECT asked.value FROM json_each(access_right.wanted) AS asked)
  )
ORDER BY access_right.right_id
