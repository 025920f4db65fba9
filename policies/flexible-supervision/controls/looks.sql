-- id: looks
-- title: Looks at companies: by whom, at whom, on what basis
-- title-zh: 对企业的查阅：查阅部门、对象与依据
-- clause: flexible supervision rules, art. 9: every look at a company is on record with purpose and legal basis
-- clause-zh: 柔性监管规则第九条：对企业的每次查阅均应登记目的和法律依据
-- severity: info
-- subject: look_id
-- owner: owner
SELECT look.look_id AS look_id,
       look.owner AS owner,
       look.company AS company,
       look.purpose AS purpose,
       look.legal_basis AS legal_basis,
       look.inquiry AS inquiry,
       look.case_no AS case_no,
       look.opened_at AS opened_at
FROM flexible_supervision.look AS look
ORDER BY look.look_id
