-- id: rights-in-force
-- title: Rights in force: who may do what with which device
-- title-zh: 现行有效的访问权
-- clause: access rules, art. 2: who may use which device, and since when, is known at every moment
-- clause-zh: 访问控制规则第二条：任何时刻均应可查明何人自何时起有权使用何设备
-- severity: info
-- subject: right_id
-- owner: owner
SELECT access_right.right_id AS right_id,
       access_right.device AS device,
       access_right.owner AS owner,
       access_right.visitor AS visitor,
       access_right.operations AS operations,
       access_right.uses AS uses,
       access_right.changed_at AS changed_at,
       access_right.valid_until AS valid_until
FROM access_control.access_right AS access_right
WHERE access_right.state = 'granted'
ORDER BY access_right.right_id
