-- id: unused-right
-- title: Rights that nobody has used for long
-- title-zh: 长期未使用的访问权
-- clause: access rules, art. 10: rights are no wider and no longer than needed
-- clause-zh: 访问控制规则第十条：访问权的范围和期限应以必要为限
-- severity: low
-- subject: right_id
-- owner: owner
SELECT access_right.right_id AS right_id,
       access_right.device AS device,
       access_right.owner AS owner,
       access_right.visitor AS visitor,
       access_right.uses AS uses,
       COALESCE(access_right.last_used_at, access_right.changed_at) AS idle_since,
       (:as_of_time - COALESCE(access_right.last_used_at, access_right.changed_at)) / 86400000 AS idle_days
FROM access_control.access_right AS access_right
WHERE access_right.state = 'granted'
  AND :as_of_time - COALESCE(access_right.last_used_at, access_right.changed_at) > :days * 86400000
ORDER BY access_right.right_id
