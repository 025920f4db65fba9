-- id: overdue-expiry
-- title: Rights still in force after their term
-- title-zh: 期满后仍有效的访问权
-- clause: access rules, art. 5: a right ends with its term
-- clause-zh: 访问控制规则第五条：访问权期满即终止
-- severity: medium
-- subject: right_id
-- owner: owner
SELECT access_right.right_id AS right_id,
       access_right.device AS device,
       access_right.owner AS owner,
       access_right.visitor AS visitor,
       access_right.valid_until AS valid_until
FROM access_control.access_right AS access_right
WHERE access_right.state = 'granted'
  AND :as_of_time - access_right.valid_until > :grace
ORDER BY access_right.right_id
