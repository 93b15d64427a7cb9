-- The 97.5 % quantile of Student's t: how many standard errors a 95 % interval spans where their size was estimated, too.
-- A table up to 10 degrees of freedom, then the expansion of Abramowitz and Stegun, 26.7.5.
CREATE MACRO t_quantile(degrees) AS
    CASE
        WHEN degrees <= 10
            THEN [12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216, 2.22814][degrees::INT]
        ELSE 1.95996 + 2.37227 / degrees + 2.82250 / degrees ^ 2 + 2.55585 / degrees ^ 3
    END
